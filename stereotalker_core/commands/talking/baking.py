"""The options of the bake in `talk`: what the portrait does not show is drawn once a person, and kept with them."""

import argparse
from pathlib import Path

from ...options import option_of
from ...pipeline import Models, baked
from ...records import Identity
from ...video.networks.bake_network import BakeNetwork
from ...video.rendering.bake import BakeOptions, load_bake
from . import flags
from .progress import ProgressLine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --bake-strength and --bake-model."""
    told = option_of(BakeOptions, "strength")
    strength = f"{told.line}; default {told.default:g}, with --identity as they were saved"
    flags.number(parser, "--bake-strength", BakeOptions, "strength", default=None, help=strength)
    model = "another network for what the portrait does not show, a file of `train bake`"
    parser.add_argument("--bake-model", metavar="B.safetensors", help=model)


def check_bake(args: argparse.Namespace) -> None:
    """Raise FileNotFoundError for a missing --bake-model."""
    if args.bake_model and not Path(args.bake_model).is_file():
        raise FileNotFoundError(f"no file at {args.bake_model}")


def bake_options(args: argparse.Namespace) -> BakeOptions:
    """Return the settings of the bake."""
    return BakeOptions() if args.bake_strength is None else BakeOptions(args.bake_strength)


def bake_network(args: argparse.Namespace, device: str) -> BakeNetwork | None:
    """Load the network of --bake-model to a device; None without the option. ValueError names a bad file."""
    return load_bake(args.bake_model, device) if args.bake_model else None


def saved_bake(models: Models, identity: Identity, args: argparse.Namespace, progress: ProgressLine) -> Identity:
    """Return a saved person as they are, or baked anew where --bake-strength or --bake-model asks for it.

    models: the networks; identity: the person; args: options of `talk`; progress: shows that the bake runs."""
    if args.bake_strength is None and not args.bake_model:
        return identity
    if args.bake_strength == 0:
        return identity.before_bake()
    return baked(models, identity, bake_options(args), progress)
