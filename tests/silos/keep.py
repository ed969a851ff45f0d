"""`make silos`: both silos, kept until Ctrl-C. `target/silos/env.json` says where everything is."""

import signal
import sys
import time

from .procs import StartError, end_on_signals
from .stage import Silos, build_gateway


def main() -> None:
    end_on_signals()
    with_gateways = "--no-gateways" not in sys.argv
    if with_gateways:
        print("== building the gateway", flush=True)
        build_gateway()
    with Silos.build("silos", exact=True, with_gateways=with_gateways) as silos:
        silos.start(lambda text: print(f"== {text}", flush=True))
        for letter, silo in silos.silos.items():
            print(f"   silo {letter}: Matrix {silo.server_name} at {silo.synapse.url}, provider {silo.domain} at "
                  f"{silo.gateway.mimi_url}, bot {silo.gateway.bot}")
        print(f"   all of it: {silos.env_file}\n   logs: {silos.folder}/*.log\n== ready; Ctrl-C ends it", flush=True)
        while True:
            for proc in silos.gateway_procs() + silos.synapses():
                if proc.starts and not proc.alive():
                    raise SystemExit(f"{proc.name} ended by itself:\n{proc.tail()}")
            time.sleep(0.5)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\n== stopped")
    except StartError as error:
        raise SystemExit(f"could not start: {error}") from None
