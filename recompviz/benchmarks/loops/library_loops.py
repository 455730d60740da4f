"""Training loops of libraries, such as transformers' Trainer. Only the compilation is added to what users write.

``LIBRARIES`` maps the name of a loop to its library and its function. The function takes a total in bytes, or None to
run eagerly. It returns the losses and the model's state.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.loops.plain_loops import STEPS, Network, data
from recompviz.pytorch.internals.dynamo import register_name
from recompviz.pytorch.running import entry_point


class _Steps(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return data(step)


LIBRARIES: dict[str, tuple[str, Callable[[int | None], list[Tensor]]]] = {}


def _loop(name: str, library: str) -> Callable[[Callable[..., list[Tensor]]], Callable[[int | None], list[Tensor]]]:
    def register(run: Callable[..., list[Tensor]]) -> Callable[[int | None], list[Tensor]]:
        def seeded(total: int | None) -> list[Tensor]:
            register_name("recompviz", entry_point.backend)
            torch.manual_seed(0)
            return run(total)

        LIBRARIES[name] = library, seeded
        return seeded

    return register


def _state(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def _llama() -> Any:
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=99, use_cache=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).train()


def _bert() -> Any:
    import transformers

    config = transformers.BertConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, vocab_size=99
    )
    return transformers.BertForMaskedLM(config).train()


def _trainer(model: Any, total: int | None, **extra: Any) -> list[Tensor]:
    import transformers

    tokens = torch.randint(5, 99, (64, 24))
    rows = [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": row} for row in tokens]
    losses: list[Tensor] = []

    class Noted(transformers.Trainer):  # type: ignore[misc]  # no types
        def training_step(self, *arguments: Any, **named: Any) -> Tensor:
            loss: Tensor = super().training_step(*arguments, **named)
            losses.append(loss.detach().clone())
            return loss

    if total is not None:
        # accelerate 1.15 knows a fixed list of names, and refuses torch_compile_backend="recompviz"
        model.compile(backend="recompviz", options={"total": total})
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=STEPS, report_to=[], use_cpu=True, per_device_train_batch_size=4,
            gradient_accumulation_steps=2, disable_tqdm=True, save_strategy="no", logging_strategy="no", **extra,
        )  # fmt: skip
        Noted(model=model, args=arguments, train_dataset=rows).train()
    return losses + _state(model)


@_loop("transformers Trainer, Llama", "transformers")
def llama(total: int | None) -> list[Tensor]:
    return _trainer(_llama(), total)


@_loop("transformers Trainer, BERT", "transformers")
def bert(total: int | None) -> list[Tensor]:
    return _trainer(_bert(), total)


@_loop("transformers Trainer, Llama, bf16", "transformers")
def llama_bf16(total: int | None) -> list[Tensor]:
    return _trainer(_llama(), total, bf16=True)


@_loop("PEFT LoRA on a Llama", "peft")
def lora(total: int | None) -> list[Tensor]:
    import peft

    model = peft.get_peft_model(_llama(), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1))
    return _trainer(model, total)


@_loop("accelerate", "accelerate")
def accelerated(total: int | None) -> list[Tensor]:
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    called, optimizer = accelerator.prepare(model, optimizer)
    if total is not None:
        called = torch.compile(called, backend="recompviz", options={"total": total})
    losses = []
    for step in range(2 * STEPS):
        with accelerator.accumulate(called):
            x, y = data(step)
            loss = F.cross_entropy(called(x), y)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(called.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    return losses + _state(model)


@_loop("Lightning", "lightning")
def lightning_module(total: int | None) -> list[Tensor]:
    import lightning

    losses: list[Tensor] = []

    class Module(lightning.LightningModule):  # type: ignore[misc]  # no types
        def __init__(self) -> None:
            super().__init__()
            self.net = Network()

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("loss", loss)
            losses.append(loss.detach().clone())
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
            self.log("validation", F.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    module: Any = Module()
    trained = module if total is None else torch.compile(module, backend="recompviz", options={"total": total})
    batches: Any = torch.utils.data.DataLoader(_Steps(), batch_size=None)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0, accumulate_grad_batches=2,
    )  # fmt: skip
    trainer.fit(trained, batches, batches)
    return losses + _state(module.net)


@_loop("timm vision transformer", "timm")
def timm_model(total: int | None) -> list[Tensor]:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, depth=3, embed_dim=48)
    called = model if total is None else torch.compile(model, backend="recompviz", options={"total": total})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _step in range(STEPS):
        loss = F.cross_entropy(called(torch.randn(8, 3, 64, 64)), torch.randint(0, 10, (8,)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses + _state(model)
