"""The optimizer in the hands of others: Lightning, accelerate, safetensors."""

import warnings

import pytest

torch = pytest.importorskip("torch")

from specdesc import rules, trees  # noqa: E402
from specdesc.torch import Muon, Optimizer  # noqa: E402
from tests.torch.nets import INPUT, net, same, train, values  # noqa: E402

DATA = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUT), batch_size=5)


def test_states_are_written_by_safetensors():
    saved = pytest.importorskip("safetensors.torch")
    model = net()
    optimizer = Muon(model, lr=0.02)
    train(model, optimizer)
    tensors = {
        f"{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    again = saved.load(saved.save(tensors))
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], tensors[key]) for key in tensors)


@pytest.mark.slow
def test_lightning_trains_logs_and_resumes(tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch import callbacks, loggers

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            groups = (
                trees.Group("*0.weight", rules.Muon(0.02)),
                trees.Group("*2.weight", rules.Scion(0.1)),
            )
            optimizer = Optimizer(self.named_parameters(), *groups, rest=rules.AdamW(1e-3))
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=8)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": cycle, "interval": "step"},
            }

    def trainer(epochs):
        monitor = callbacks.LearningRateMonitor(log_momentum=True, log_weight_decay=True)
        return lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=loggers.CSVLogger(tmp_path),
            callbacks=[monitor],
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        straight, halted, resumed = Module(), Module(), Module()
        before = values(straight)
        trainer(4).fit(straight, DATA)
        first = trainer(2)
        first.fit(halted, DATA)
        first.save_checkpoint(tmp_path / "half.ckpt")
        trainer(4).fit(resumed, DATA, ckpt_path=tmp_path / "half.ckpt")
    assert not any(torch.equal(a, b) for a, b in zip(before, values(straight), strict=True))
    assert same(values(straight), values(resumed))


@pytest.mark.slow
def test_lightning_trains_what_it_unfreezes(tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch import callbacks

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return Muon(self.net[2], lr=0.02)

    class Finetuning(callbacks.BaseFinetuning):
        def freeze_before_training(self, module):
            self.freeze(module.net[0])

        def finetune_function(self, module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(module.net[0], optimizer, lr=0.1)

    module = Module()
    before = values(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning.Trainer(
            max_epochs=2,
            callbacks=[Finetuning()],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        ).fit(module, DATA)
    assert not any(torch.equal(a, b) for a, b in zip(before, values(module), strict=True))


@pytest.mark.slow
def test_accelerate_prepares_steps_and_resumes(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model, other = net(), net()
    optimizer = Muon(model, lr=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        model, optimizer, data, scheduler = accelerator.prepare(model, optimizer, DATA, scheduler)

        def epoch():
            for (x,) in data:
                with accelerator.accumulate(model):
                    accelerator.backward(model(x).square().mean())
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()

        epoch()
        accelerator.save_state(tmp_path)
        epoch()
        expected = values(model)
        accelerator.load_state(tmp_path)
        epoch()
    assert same(expected, values(model))
    assert not same(expected, values(other))
