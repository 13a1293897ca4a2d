"""Tables, figures and networks of Hüttel & Clemmensen (2021)."""
