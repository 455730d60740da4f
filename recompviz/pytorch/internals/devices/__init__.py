"""What differs between devices: one interface (:mod:`.base`), a file for each device, and the choice of the file."""
