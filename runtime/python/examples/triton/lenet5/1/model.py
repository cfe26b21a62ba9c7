"""Serves the model.bin beside it, whichever that is, by Triton's Python backend. `config.pbtxt` says what its inputs and outputs are."""

import pathlib

import triton_python_backend_utils as pb_utils

import twnc


class TritonPythonModel:
    """An instance: a process with a session of its own."""

    def initialize(self, args):
        """Opens the model. What it raises here, Triton reports, and does not serve the model."""
        options = twnc.SessionOptions()
        options.intra_op_num_threads = 1
        folder = pathlib.Path(args["model_repository"]) / args["model_version"]
        self.session = twnc.InferenceSession(folder / "model.bin", options)
        self.inputs = [port.name for port in self.session.get_inputs()]
        self.outputs = [port.name for port in self.session.get_outputs()]

    def execute(self, requests):
        """A response for each request. One that does not fit the model gets the reason, and the others their outputs."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            feeds = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            outputs = self.session.run(self.outputs, feeds)
        except twnc.TwncError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in zip(self.outputs, outputs)])
