"""The winner behind the KServe REST protocols, and everything that checks it there.

    predictor       request JSON -> instances -> answers -> response JSON; pure
    open_inference  the same for the Open Inference Protocol (V2)
    batching        one worker thread that answers what is queued together
    server          the only import of kserve's server:
                        serve(system, *, name, host="127.0.0.1", port=8080, limits=..., announce=print) -> None
    predict_file    the same answers without a server:
                        predict_file(system, *, source, sink, form="auto", tasks=None, limits=..., batch=64) -> int
    releases        records under <storage>/deployments/<name>/:
                        stage(report, *, deployment) -> release URI
                        promote(release) -> champion URI
                        champion(storage, deployment) -> dict | None
    smoke           smoke_test(release, *, texts=50, seed=13, timeout_s=120) -> SmokeSummary

`system` is any URI that `modeling.system.load_system` takes. `python -m taskmix.serving SYSTEM --name NAME --port PORT`
starts the server without the rest of the command line. Nothing here knows training or evaluation.
"""
