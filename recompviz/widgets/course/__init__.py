"""The course as static pages: notebooks become HTML that needs neither a kernel nor a network."""
