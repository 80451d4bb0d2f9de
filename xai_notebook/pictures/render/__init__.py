"""HTML and text of pictures, jobs and costs."""
