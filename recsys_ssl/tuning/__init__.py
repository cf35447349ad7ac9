"""IN a training function and a space of settings. OUT a study of trials, the best settings, a report."""
