"""The neural networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attend_infer_repeat.config import NON_LINEARITIES
from attend_infer_repeat.nn import MLP, Decoder, Embedding, GaussianNetwork, ImageLSTM


@pytest.mark.parametrize("step_size", [0, 5])
def test_image_lstm_equals_lstm_cell_on_the_concatenated_input(step_size: int) -> None:
    features = torch.randn(6, 10)
    step_inputs = [torch.randn(rows, step_size) for rows in (1, 6, 6, 6)]  # one row at first
    ours = ImageLSTM(10, step_size, 7)
    for start in (ours.h_init, ours.c_init):
        nn.init.normal_(start)

    cell = nn.LSTMCell(10 + step_size, 7)
    step_weights, memory_weights = ours.step.weight.split((step_size, 7), dim=1)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat((ours.look.weight, step_weights), dim=1))
        cell.weight_hh.copy_(memory_weights)
        cell.bias_ih.copy_(ours.look.bias)
        cell.bias_hh.zero_()

    gates = ours.look(features)
    state = ours.start()
    expected = (ours.h_init.expand(6, 7), ours.c_init.expand(6, 7))
    for step_input in step_inputs:
        state = ours(gates, step_input, state)
        step_input = step_input.expand(6, -1)
        expected = cell(torch.cat((features, step_input), dim=1), expected)
        torch.testing.assert_close(state, expected)


def test_image_lstm_learns_its_first_state() -> None:
    lstm = ImageLSTM(3, 2, 4)
    h, c = lstm(lstm.look(torch.randn(5, 3)), torch.randn(5, 2), lstm.start())
    for gradient in torch.autograd.grad((h + c).sum(), (lstm.h_init, lstm.c_init)):
        assert (gradient != 0).any()


@pytest.mark.parametrize("hidden", [(), (9,), (9, 5)])
def test_decoder_with_sigmoid_paints_intensities(hidden: tuple[int, ...]) -> None:
    decoder = Decoder(4, hidden, (3, 5, 6), "ReLU", -2.0, use_sigmoid=True)
    windows = decoder(100 * torch.randn(2, 7, 4))
    assert windows.shape == (2, 7, 3, 5, 6)
    assert ((windows >= 0) & (windows <= 1)).all()


def test_decoder_bias_shifts_what_the_sigmoid_squashes() -> None:
    codes = torch.randn(5, 4)
    decoder = Decoder(4, (9,), (1, 5, 5), "ReLU", -2.0, use_sigmoid=True)
    plain = Decoder(4, (9,), (1, 5, 5), "ReLU", None, use_sigmoid=False)
    plain.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(torch.logit(decoder(codes)), plain(codes) - 2)


def test_decoder_without_hidden_layers_and_sigmoid_is_affine() -> None:
    decoder = Decoder(4, (), (1, 3, 3), "ReLU", None, use_sigmoid=False)
    a, b = torch.randn(2, 4)
    zero = decoder(torch.zeros(4))
    torch.testing.assert_close(
        decoder(2 * a + b) - zero, 2 * (decoder(a) - zero) + decoder(b) - zero
    )


def test_gaussian_network_never_predicts_a_standard_deviation_of_zero() -> None:
    network = GaussianNetwork(3, (4,), 2, "ReLU")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.layers[-1].bias.fill_(-1e4)
    law = network(torch.randn(6, 3))
    assert (law.scale > 0).all()
    assert torch.isfinite(law.log_prob(torch.zeros(6, 2))).all()


def test_gaussian_network_predicts_as_many_numbers_as_asked() -> None:
    law = GaussianNetwork(3, (), 2, "Tanh")(torch.randn(4, 5, 3))
    assert law.batch_shape == (4, 5, 2)


def test_embedding_hands_over_the_pixels_unless_it_has_layers() -> None:
    pixels = torch.randn(4, 12)
    none, empty = (Embedding(12, layers, "ReLU") for layers in (None, ()))
    assert none.out_size == empty.out_size == 12
    assert torch.equal(none(pixels), pixels)
    assert torch.equal(empty(pixels), pixels)
    layered = Embedding(12, (8, 5), "ReLU")
    assert layered(pixels).shape == (4, layered.out_size) == (4, 5)


@pytest.mark.parametrize("non_linearity", NON_LINEARITIES)
def test_every_non_linearity_of_the_config_exists(non_linearity: str) -> None:
    assert MLP([2, 3, 1], non_linearity)(torch.randn(4, 2)).shape == (4, 1)


def test_mlp_ends_in_a_linear_layer() -> None:
    layers = MLP([2, 3, 4, 1], "ReLU")
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]


def test_mlp_sees_several_features_as_if_they_were_concatenated() -> None:
    mlp = MLP([9, 5, 2], "Tanh")
    data, learned = torch.rand(4, 6), torch.rand(4, 3, requires_grad=True)
    apart, together = mlp(data, learned), mlp(torch.cat((data, learned), dim=-1))
    torch.testing.assert_close(apart, together)
    inputs = learned, *mlp.parameters()
    torch.testing.assert_close(
        torch.autograd.grad(apart.sum(), inputs), torch.autograd.grad(together.sum(), inputs)
    )
    nothing = torch.rand(4, 0)
    torch.testing.assert_close(mlp(torch.cat((data, learned), -1), nothing), together)
