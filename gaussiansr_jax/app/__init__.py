"""The page in the browser: zoom into a picture, compare, enlarge it, look at its Gaussians."""
