"""Import and export: topologies as CSV and GeoJSON, radio maps as GeoTIFF and PNG, gains that others computed.

Readers take text or a path and return values; writers return text or bytes, and `files.write` puts them in place whole.
Only this package uses pyproj, rasterio and matplotlib, and only where they are needed.
"""
