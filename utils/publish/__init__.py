"""A run's models for others: plain folders with a model card, and a chat with several policies at once.

Nothing is uploaded unless it is asked for.
"""

from __future__ import annotations

from utils.publish.chat import Answer, Chat, check_message, check_settings, labelled_policies, named_folders, open_chat
from utils.publish.model_cards import WHAT, export, given_licence, push

__all__ = [
    "Answer",
    "Chat",
    "WHAT",
    "check_message",
    "check_settings",
    "export",
    "given_licence",
    "named_folders",
    "open_chat",
    "push",
    "labelled_policies",
]
