"""The parts of sample-library: pictures, the story that they tell, and the database rows."""
