"""Train a network on what pixmix made: on a CPU, one GPU, or several with torchrun.

    python examples/train.py baked --val photos/val --epochs 8 --checkpoint run.pt
    python examples/train.py photos/train --mixing-set mixing --val photos/val
    torchrun --nproc-per-node 2 examples/train.py baked --val photos/val

DATA is a baked set, of which epoch e reads copy e mod N, or an ImageFolder, to which PixMix is
applied as it is read. --crop is for sets that were baked whole. A JSON line an epoch goes to
stdout. With --checkpoint a run goes on where it stopped, and ends as if it had not.
"""

import json
import math
import os
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, Subset
from torchvision import models
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from pixmix_cli import BakedDataset, PixMix

MEAN_STD = {  # of the published recipes: per channel, of pictures in [0, 1]
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
}
CROP = {"imagenet": T.RandomResizedCrop, "cifar": lambda size: T.RandomCrop(size, size // 8)}


def options(arguments):
    """The command line."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a baked set, or an ImageFolder")
    parser.add_argument("--mixing-set", nargs="+", help="for an ImageFolder: what is mixed in")
    parser.add_argument("--replay", action="store_true", help="past the last copy of a baked set")
    parser.add_argument("--crop", type=int, help="flip and crop baked pictures to this side")
    parser.add_argument("--preset", choices=MEAN_STD, default="imagenet", help="of an ImageFolder")
    parser.add_argument("--val", help="an ImageFolder with the same classes, never augmented")
    parser.add_argument("--val-every", type=int, default=1, help="epochs; the last one always")
    parser.add_argument("--model", default="small", help="small, or a name in torchvision.models")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64, help="of each process")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--amp", action=BooleanOptionalAction, help="default: on a GPU")
    parser.add_argument("--checkpoint", type=Path, help="written every epoch; gone on with")
    return parser.parse_args(arguments)


def small_network(num_classes):
    """Four convolutions for any size: enough to see a network learn, in seconds on a CPU."""
    layers = []
    for channels, width in ((3, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
    return nn.Sequential(*layers)


def open_data(args):
    """The training set, the validation set or None."""
    if (args.data / "manifest.json").exists():
        train = BakedDataset(args.data, replay=args.replay)
        preset, size = train.settings["preset"], train.settings["size"]
        if args.crop is not None and not 1 <= args.crop <= size:
            sys.exit(f"--crop {args.crop}: the pictures of {args.data} have {size} pixels")
        if args.epochs > 4 * train.copies and not (args.crop or args.replay):
            many = f"{args.epochs} epochs with N = {train.copies} copies teach pictures by heart"
            print(f"Warning: {many}, see docs/settings.md: How many copies", file=sys.stderr)
        size = args.crop or size
        moves = [T.RandomHorizontalFlip(), CROP[preset](size)] if args.crop else []
        train.transform = T.Compose([*moves, T.ToTensor(), T.Normalize(*MEAN_STD[preset])])
    elif args.mixing_set:
        if args.crop is not None:
            sys.exit("--crop is for a baked set: PixMix crops as it reads")
        preset, (mean, std) = args.preset, MEAN_STD[args.preset]
        train = ImageFolder(args.data, PixMix(args.mixing_set, preset=preset, mean=mean, std=std))
        size = 32 if preset == "cifar" else 224
    else:
        sys.exit(f"{args.data} is no baked set, and there is no --mixing-set for an ImageFolder")
    if args.val is None:
        return train, None
    # what the network will meet: the whole picture, without a flip, and never mixed
    shorter = size if preset == "cifar" else round(size * 8 / 7)
    usual = [T.Resize(shorter), T.CenterCrop(size), T.ToTensor(), T.Normalize(*MEAN_STD[preset])]
    val = ImageFolder(args.val, T.Compose(usual))
    if list(val.classes) != list(train.classes):
        sys.exit(f"{args.val} has the classes {val.classes}, {args.data} {list(train.classes)}")
    return train, val


def main(arguments=None):
    """Train, and print a JSON line an epoch."""
    args = options(arguments)
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    train, val = open_data(args)
    torch.manual_seed(args.seed)
    make = small_network if args.model == "small" else partial(models.get_model, args.model)
    network = make(num_classes=len(train.classes)).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), args.lr, momentum=0.9, nesterov=True, weight_decay=args.weight_decay
    )
    amp = device.type == "cuda" if args.amp is None else args.amp
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=amp and half == torch.float16)
    parts = {"network": network, "optimizer": optimizer, "scaler": scaler}
    begin = 0
    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        begin = saved["epochs"]
    trained = nn.parallel.DistributedDataParallel(network) if world > 1 else network

    # every process reads as many samples: where they do not divide, some are read twice
    sampler = DistributedSampler(train, world, rank, seed=args.seed)
    usual = {"num_workers": args.workers, "pin_memory": device.type == "cuda"}
    stay = args.workers > 0 and isinstance(train, BakedDataset) and not args.crop  # else new seeds
    usual |= {"persistent_workers": stay, "drop_last": len(sampler) % args.batch_size == 1}
    loader = DataLoader(train, args.batch_size, sampler=sampler, **usual)  # batch norm wants two
    if val is not None:  # each process its part of it, and no sample twice
        part = Subset(val, range(rank, len(val), world))
        val_loader = DataLoader(part, args.batch_size, num_workers=args.workers)

    def add_up(*numbers):
        """The sums over all processes."""
        sums = torch.tensor(numbers, dtype=torch.float64, device=device)
        if world > 1:
            dist.all_reduce(sums)
        return sums.tolist()

    for epoch in range(begin, args.epochs):
        started = time.perf_counter()
        torch.manual_seed(args.seed + 1_000_003 * epoch + rank)  # so that a run goes on alike
        sampler.set_epoch(epoch)
        if isinstance(train, BakedDataset):
            train.set_epoch(epoch)  # copy epoch mod N
        trained.train()
        loss_sum = right = seen = 0
        for batch, (pictures, labels) in enumerate(loader):
            done = (epoch + batch / len(loader)) / args.epochs
            for group in optimizer.param_groups:
                group["lr"] = args.lr * (1 + math.cos(math.pi * done)) / 2
            pictures, labels = pictures.to(device), labels.to(device)
            with torch.autocast(device.type, half, enabled=amp):
                logits = trained(pictures)
                loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss_sum += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
        shares = add_up(*(seen if number == rank else 0 for number in range(world)))
        loss_sum, right = add_up(loss_sum, right)
        record = {"epoch": epoch, "loss": loss_sum / sum(shares), "accuracy": right / sum(shares)}
        if val is not None and (epoch + 1 == args.epochs or (epoch + 1) % args.val_every == 0):
            network.eval()
            right = 0
            with torch.no_grad(), torch.autocast(device.type, half, enabled=amp):
                for pictures, labels in val_loader:
                    right += (network(pictures.to(device)).cpu().argmax(1) == labels).sum().item()
            record["val_accuracy"] = add_up(right)[0] / len(val)
        record["samples"] = [int(number) for number in shares]  # of each process
        record["seconds"] = round(time.perf_counter() - started, 2)
        if rank == 0:
            print(json.dumps(record), flush=True)
            if args.checkpoint:
                save(args.checkpoint, parts, epoch + 1)
    if world > 1:
        dist.destroy_process_group()


def save(path, parts, epochs):
    """Write a checkpoint whole, or leave the last one."""
    begun = path.with_name(path.name + ".partial")
    torch.save({**{name: p.state_dict() for name, p in parts.items()}, "epochs": epochs}, begun)
    os.replace(begun, path)


if __name__ == "__main__":
    main()
