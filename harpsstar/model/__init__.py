"""The model of a spectrum: emulator, its nodes and derivatives, line list, templates."""
