"""The winner behind the KServe REST protocols, and everything that checks it there.

    predictor       request JSON -> instances -> answers -> response JSON; pure
    open_inference  the same for the Open Inference Protocol (V2); pure
    batching        one worker thread that answers what is queued together
    endpoints       the HTTP routes
    server          the only import of kserve's server:
                        serve(system, *, name, host="127.0.0.1", port=8080, limits=None, announce=...) -> None
    predict_file    the same answers without a server:
                        predict_file(model, *, source, sink, name, form="auto", tasks=None, at_once=64, tell=...) -> int
    releases        records under <storage>/deployments/<name>/:
                        stage(report, *, deployment, run=None, again=False) -> URI of the release
                        promote(release, *, again=False) -> URI of the champion's record
                        champion(storage, deployment) -> its content, or None
    assembly        assemble(release) -> URI of the folder that a cluster's server is given
    child           the server as a child process
    smoke           smoke_test(release, *, texts=50, seed=13, timeout_s=120) -> SmokeSummary

`system` is any URI that `modeling.system.load_system` takes. `python -m taskmix.serving SYSTEM --name NAME --port PORT`
starts the server without the rest of the command line. Nothing here knows training or evaluation.
"""
