"""What records become: tallies, digests, files, tables, pictures. Knows neither driver."""
