"""`/v1/responses`: a description of an image or an answer, or an image by the tool `image_generation`."""
