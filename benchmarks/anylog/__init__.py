"""Any log: IN logs and specs as strangers have them, sound or broken, OUT whether each comes to its right outcome."""
