"""Imports go one way: text, batches, networks, tasks, training, commands."""

import ast
from pathlib import Path

import lmexp

PACKAGE = Path(lmexp.__file__).parent
OF_ALL = {"batch", "seeds"}  # a NamedTuple and a hash: anybody may use them
ALLOWED = {  # part -> parts of lmexp that it may import; a part not named here: see below
    "atomic": set(),
    "example_scores": {"atomic"},
    "scored_examples": set(),
    "text_examples": {"batch_plan", "packing", "scored_examples"},
    "cache": {"atomic"},
    "tokenizers": {"tokenizers"},
    "corpora": {"corpora", "errors"},
    "cleaning": set(),
    "pair_cleaning": {"cleaning"},
    "packing": set(),
    "pair_store": {"packing", "tokenizers"},
    "pair_plan": set(),
    "overlap": {"atomic", "cache"},
    "pair_preparation": {"cache", "packing", "pair_store", "preparation", "tokenizers"},
    "pair_evaluation": {"decoding", "text_scores"},
    "pair_data": {
        "pair_evaluation",
        "decoding",
        "buckets",
        "collate",
        "networks",
        "overlap",
    }
    | {"pair_plan", "pair_preparation", "pair_store", "preparation", "tokenizers"}
    | {"execution", "scored_examples", "text_scores"},
    "preparation": {"cache", "packing", "tokenizers"},
    "loaders": {"batch_plan", "collate", "packing"},
    "buckets": {"batch_plan", "loaders", "pair_plan", "preparation"},
    "prepared_text": {"networks", "overlap", "packing", "preparation", "tokenizers"},
    "data": {"batch_plan", "loaders", "packing", "prepared_text", "preparation", "tokenizers"}
    | {"scored_examples", "text_examples"},
    "masking": {"tokenizers"},
    "segment_plan": {"masking"},
    "segment_data": {"buckets", "collate", "masking", "pair_plan", "prepared_text"}
    | {"preparation", "scored_examples", "segment_plan", "tokenizers"},
    "ragged": {"packing"},
    "collate_labels": {"tokenizers"},
    "labelled_data": {"buckets", "labelled_preparation", "networks", "pair_plan"}
    | {"preparation", "ragged", "scored_examples", "tokenizers"},
    "labelled_preparation": {"cache", "packing", "preparation", "ragged", "tokenizers"},
    "tag_form": {"collate_labels", "pair_plan", "preparation", "ragged", "tokenizers"},
    "tag_data": {"collate_labels", "labelled_data", "preparation", "ragged", "tag_form"},
    "label_data": {"collate_labels", "labelled_data", "pair_plan", "preparation", "ragged"},
    "match_data": {"buckets", "collate", "pair_data", "pair_plan", "pair_preparation"}
    | {"pair_store", "preparation", "scored_examples", "text_scores", "tokenizers"},
    "class_losses": set(),
    "sentence_data": {"buckets", "collate", "packing", "pair_plan", "prepared_text"}
    | {"preparation", "scored_examples", "segment_plan", "tokenizers"},
    "schedules": set(),
    "ranks": {"errors", "launch_ranks"},
    "gradient_sum": set(),
    "sharding": {"recompute"},
    "checkpoint_files": {"atomic"},
    "checkpoint": {"atomic", "checkpoint_files", "checkpoint_parts"},
    "checkpoint_parts": {"atomic", "checkpoint", "checkpoint_files", "errors", "ranks"},
    "ema": {"sharding"},
    "forwarding": set(),
    "launch_ranks": {"errors", "forwarding", "record_files", "targets"},
    "batch_plan": set(),
    "batch": set(),
    "seeds": set(),
    "networks": {"networks"},
    "losses": set(),
    "nested": set(),
    "metrics": set(),
    "breakdown": set(),
    "collate": {"packing", "batch_plan", "masking", "pair_plan", "segment_plan", "tokenizers"},
    "text_scores": set(),
    "label_scores": set(),
    "answer_scores": set(),
    "execution": set(),
    "execution_child": set(),
    "decoding": {"decoding", "networks", "tokenizers"},
    "tasks": {
        "tasks",
        "decoding",
        "text_scores",
        "execution",
        "networks",
        "losses",
        "class_losses",
        "answer_scores",
        "label_scores",
        "metrics",
        "schedules",
        "optimizers",
        "ema",
        "example_scores",
        "scored_examples",
        "ranks",
        "gradient_sum",
        "sharding",
    },
    "signatures": set(),
    "secret_values": set(),
    "values": {"signatures"},
    "targets": {"signatures", "values"},
    "origins": set(),
    "models": {"signatures", "recipe", "targets"},  # recipe: for the command alone
}
COMMANDS = {"train", "evaluate", "predict", "show", "plan", "launch", "sweep", "__main__"}
COMMANDS |= {"translate", "chat", "average", "attend", "evaluate_pairs", "evaluate_windows"}
COMMANDS |= {"replay", "slurm", "launchers", "consolidate", "fill", "evaluate_segments"}
COMMANDS |= {"evaluate_sentences", "sample", "interpolate", "label", "evaluate_labels", "answer"}
COMMANDS |= {"match", "evaluate_matches", "checks", "compare", "sync"}
STATISTICS = {"formulas", "resampling", "paired", "seeds", "verdicts", "over_examples", "guard"}


def imports(file: Path) -> set[str]:
    """First parts of what a file imports of lmexp, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lmexp":
            path = (node.module or "").split(".")[1:]
            found |= {path[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lmexp.")}
    return found


FILES = {
    file: file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")
}


def test_a_part_imports_only_what_is_below_it():
    wrong = {
        str(file.relative_to(PACKAGE)): extra
        for file, part in FILES.items()
        if part in ALLOWED and (extra := imports(file) - ALLOWED[part] - OF_ALL)
    }

    assert not wrong


def test_the_statistics_of_compare_import_nothing_else():
    wrong = {name: imports(PACKAGE / "compare" / f"{name}.py") - {"compare"} for name in STATISTICS}

    assert not any(wrong.values())


def test_no_part_imports_a_command():
    wrong = {
        str(file.relative_to(PACKAGE)): extra
        for file, part in FILES.items()
        if part not in COMMANDS | {"recipe"} and (extra := imports(file) & COMMANDS)
    }

    assert not wrong


def test_networks_import_of_networks_only_what_is_no_architecture():
    shared = {"interface", "layers", "attention", "explicit_attention", "cache", "segments"}
    shared |= {"sizes", "transformer_encoder", "recurrent_encoder", "latent"}
    shared |= {"pretrained_attention", "pretrained_config", "pretrained_library"}
    for file in (PACKAGE / "networks").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "lmexp.networks."
            ):
                part = str(node.module).split(".")[2]
                is_its_own = part.startswith(f"{file.stem}_")  # transformer: transformer_decoder
                assert part in shared or is_its_own, f"{file}: {node.module}"


def test_recipe_and_grid_alone_import_hydra():
    for file in FILES:
        names = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        uses_hydra = any(name.split(".")[0] == "hydra" for name in names)
        assert not uses_hydra or file.name in ("recipe.py", "grid.py")


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False) or ""
    return (function.end_lineno or 0) - function.lineno - docstring.count("\n")


def test_every_file_and_function_is_short():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert text.count("\n") < 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert code_lines(node) < 50, f"{file}: {node.name}"


def test_bounds_of_annotations_are_numbers_as_the_check_reads_them():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_bound = node.func.id in ("Ge", "Gt", "Le", "Lt")
                values = [ast.unparse(value) for value in node.args]
                assert not is_bound or all(
                    isinstance(v, ast.Constant | ast.UnaryOp) for v in node.args
                ), f"{file}: {node.func.id}({values})"
