"""Everything that differs between devices: one interface (:mod:`.base`), a file for each device, and their choice."""
