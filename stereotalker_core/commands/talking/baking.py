"""The options of the bake in `talk`: what the portrait does not show, drawn once a person by a network of `train bake`.
"""

import argparse
from pathlib import Path

from ...body.model import HalfBody
from ...options import option_of
from ...records import Identity
from ...video.networks.bake_network import BakeNetwork
from ...video.rendering.bake import BakeOptions, bake, load_bake
from .outputs import digest, input_files
from .progress import ProgressLine
from .workshop import Workshop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --bake-model and --bake-strength."""
    model = "a network of `train bake` draws what the portrait does not show; --save-identity keeps it"
    parser.add_argument("--bake-model", metavar="B.safetensors", help=model)
    told = option_of(BakeOptions, "strength")
    strength = f"{told.line}; default {told.default:g} with --bake-model, else as the saved person is"
    parser.add_argument("--bake-strength", type=float, metavar="X", help=strength)


def bake_options(args: argparse.Namespace) -> BakeOptions | None:
    """Return the settings of the bake, None where the person stays as they are; ValueError for bad ones.

    args: options of `talk`; --bake-strength 0 takes away what an earlier bake drew, and needs no network."""
    strength = args.bake_strength
    if strength is None and not args.bake_model:
        return None
    told = option_of(BakeOptions, "strength")
    fault = None if strength is None else told.fault("--bake-strength", strength)
    if fault is not None:
        raise ValueError(fault)
    if strength and not args.bake_model:
        raise ValueError("--bake-strength needs --bake-model, a file of `train bake`; none is embedded")
    if strength != 0 and not Path(args.bake_model).is_file():
        raise FileNotFoundError(f"no file at {args.bake_model}")
    return BakeOptions() if strength is None else BakeOptions(strength)


def bake_network(args: argparse.Namespace, device: str) -> BakeNetwork | None:
    """Load the network of the bake, None where none is needed. FileNotFoundError and ValueError name a bad file.

    args: options of `talk`; device: where the network runs."""
    options = bake_options(args)
    return None if options is None or options.strength == 0 else load_bake(args.bake_model, device)


def baked(
    identity: Identity,
    args: argparse.Namespace,
    network: BakeNetwork | None,
    body: HalfBody,
    workshop: Workshop,
    progress: ProgressLine,
) -> Identity:
    """Return the person with the texture that the options ask for.

    identity: a fitted person.
    args: options of `talk`.
    network: of `bake_network`.
    body: the half body.
    workshop: keeps the baked person for the next clip.
    progress: shows that the bake runs."""
    options = bake_options(args)
    if options is None:
        return identity
    if network is None:
        return identity.before_bake()
    files = input_files(args)
    key = (*workshop.key(args), digest(files["bake_model"]), options.strength)
    found = workshop.person(key)
    if found is None:
        progress("bake", 0, 1)
        found = bake(network, body, identity, options)
        progress("bake", 1, 1)
        workshop.keep_person(key, found)
    return found
