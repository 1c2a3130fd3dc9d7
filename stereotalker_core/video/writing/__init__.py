"""The output files: frames -> video, picture and GIF files."""
