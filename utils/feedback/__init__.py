"""Feedback compared with people's: points of each feedback, their matches, and the overlap beside its controls.

Liang et al. 2023 (arXiv 2310.01783). Part of it is offline (rules, a classifier, text similarity); part uses a language model.
"""

from __future__ import annotations

from utils.feedback.aspects import ASPECTS, aspect_of, log_ratios, with_aspects
from utils.feedback.backends import Backend, Endpoint, LanguageModel, Refused, checked_json, complete_checked
from utils.feedback.classifier import THRESHOLDS, ClassifierExtractor, ConcernClassifier, labelled_sentences, train_classifier
from utils.feedback.controls import DUMMIES, system_of, with_dummies
from utils.feedback.documents import read_document
from utils.feedback.extract import Extractor, RulesExtractor, merge, other_sentences
from utils.feedback.match import Matches, MatchSettings, Pair, Scorer, match_feedback, pair_features, real_pairs, shuffled_pairs
from utils.feedback.overlap import (
    METRICS,
    OverlapRow,
    SetOverlap,
    first_points,
    global_overlap,
    maximum_matching,
    mean_value,
    pairwise_overlap,
    set_overlap,
)
from utils.feedback.prompted import PromptExtractor, PromptMatcher, generate_feedback
from utils.feedback.published import load_disapere, load_marg, load_second_annotator
from utils.feedback.records import (
    Feedback,
    Match,
    MatchLabel,
    Point,
    PointKey,
    SpanLabel,
    by_document,
    by_feedback,
    read_feedback,
    read_labels,
    read_match_labels,
    read_matches,
    read_points,
)
from utils.feedback.report import Overlaps, ReportSettings, overlap_report
from utils.feedback.similarity import FEATURES, projected_cosine
from utils.feedback.simulated import SimulatedReviews, simulate_reviews
from utils.feedback.text import Sentence, find_quote, mostly_latin, sentences
from utils.feedback.verify import (
    Agreement,
    annotators_agreement,
    aspects_kappa,
    boundary_agreement,
    extraction_agreement,
    f1_interval,
    fit_scorer,
    labelled_pairs,
    matching_metrics,
    total,
)

__all__ = [
    "ASPECTS",
    "Agreement",
    "Backend",
    "ClassifierExtractor",
    "ConcernClassifier",
    "DUMMIES",
    "Endpoint",
    "Extractor",
    "FEATURES",
    "Feedback",
    "LanguageModel",
    "METRICS",
    "Match",
    "MatchLabel",
    "MatchSettings",
    "Matches",
    "OverlapRow",
    "Overlaps",
    "Pair",
    "Point",
    "PointKey",
    "PromptExtractor",
    "PromptMatcher",
    "Refused",
    "ReportSettings",
    "RulesExtractor",
    "Scorer",
    "Sentence",
    "SetOverlap",
    "SimulatedReviews",
    "SpanLabel",
    "THRESHOLDS",
    "annotators_agreement",
    "aspect_of",
    "aspects_kappa",
    "boundary_agreement",
    "by_document",
    "by_feedback",
    "checked_json",
    "complete_checked",
    "extraction_agreement",
    "f1_interval",
    "find_quote",
    "first_points",
    "fit_scorer",
    "generate_feedback",
    "global_overlap",
    "labelled_pairs",
    "labelled_sentences",
    "load_disapere",
    "load_marg",
    "load_second_annotator",
    "log_ratios",
    "match_feedback",
    "matching_metrics",
    "maximum_matching",
    "mean_value",
    "merge",
    "mostly_latin",
    "other_sentences",
    "overlap_report",
    "pair_features",
    "pairwise_overlap",
    "projected_cosine",
    "read_document",
    "read_feedback",
    "read_labels",
    "read_match_labels",
    "read_matches",
    "read_points",
    "real_pairs",
    "sentences",
    "set_overlap",
    "shuffled_pairs",
    "simulate_reviews",
    "system_of",
    "total",
    "train_classifier",
    "with_aspects",
    "with_dummies",
]
