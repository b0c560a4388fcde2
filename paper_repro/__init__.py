"""The report: what lrtheory found, paper by paper.

``python -m paper_repro`` runs what is missing and writes ``paper_repro/report/index.html`` and its Markdown twin. A
paper is one file here that ends in ``paper = Paper(...)`` and is named in `PAPERS`, in the order of the report.
"""

PAPERS = (
    "overparam_sensing",
    "incremental_learning",
    "scaled_gd",
    "gauss_newton",
    "matrix_sensing",
    "diagonal_ssm",
    "streaming",
)
