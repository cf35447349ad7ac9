"""Samplers of settings compared on tables of trainings: a point is looked up, so that many searches cost nothing."""
