"""Brings the data view and the dashboard into Kibana once it answers, then rests: the pod's other container is Kibana."""

import json
import pathlib
import signal
import sys
import time
import urllib.error
import urllib.request

KIBANA = "http://localhost:5601"
BOUNDARY = "webstore"


def import_objects() -> None:
    """https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-saved-objects-import"""
    content = (pathlib.Path(__file__).parent / "saved-objects.ndjson").read_bytes()
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="webstore.ndjson"\r\n\r\n'
    request = urllib.request.Request(
        KIBANA + "/api/saved_objects/_import?overwrite=true",
        data=head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode(),
        headers={"kbn-xsrf": "webstore", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.load(answer)
    # Kibana answers 200 where it took some of them or none; what it does not take it will not take the next time.
    if not told["success"]:
        sys.exit(f"Kibana does not take the saved objects: {json.dumps(told.get('errors', told))}")
    print("imported", told["successCount"], "objects", flush=True)


signal.signal(signal.SIGTERM, lambda *_: exit(0))
while True:
    try:
        import_objects()
        break
    except urllib.error.HTTPError as error:
        # 429 and 5xx: not yet; anything else stays as it is.
        answer = f"Kibana answered {error.code} {error.read().decode(errors='replace')}"
        if error.code != 429 and error.code < 500:
            sys.exit(answer)
        print(answer, flush=True)
    except OSError:
        pass  # not yet
    time.sleep(5)
signal.pause()
