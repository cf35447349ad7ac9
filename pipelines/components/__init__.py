"""IN artifacts and settings. OUT artifacts: each stage as a TFX component, whose cache key holds a hash of its code."""
