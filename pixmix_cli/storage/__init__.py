"""Files and places: written whole, pictures in and out, tars, URLs, temporary copies."""
