"""Any log: IN logs and specs as strangers have them, sound, odd and broken, OUT whether each came to its right outcome."""
