"""instruct-gpt2: InstructGPT (Ouyang et al. 2022) end to end on GPT-2. See docs/architecture.md."""

__version__ = "0.1.0"
