"""The task API of Hugging Face's hub, as `huggingface_hub.InferenceClient` sends it."""
