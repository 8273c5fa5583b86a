"""Evaluation of a model on data sets: metrics, tables and worst cases, as `hq-sam evaluate` reports them.

May import: model, masks, data, scenes, inference, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .command import EvaluationData, evaluate_and_report
    from .decoding import Prediction, predict
    from .evaluator import evaluate
    from .paper_results import PaperResult, paper_result
    from .protocols import PROTOCOLS, EvaluationProtocol
    from .results import Evaluation
    from .worst_cases import save_worst_cases

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "command": ["EvaluationData", "evaluate_and_report"],
        "decoding": ["Prediction", "predict"],
        "evaluator": ["evaluate"],
        "paper_results": ["PaperResult", "paper_result"],
        "protocols": ["PROTOCOLS", "EvaluationProtocol"],
        "results": ["Evaluation"],
        "worst_cases": ["save_worst_cases"],
    },
)

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "EvaluationData",
    "EvaluationProtocol",
    "PaperResult",
    "Prediction",
    "evaluate",
    "evaluate_and_report",
    "paper_result",
    "predict",
    "save_worst_cases",
]
