"""`syncs.py COUNT`: milliseconds that a full sync takes in a process that holds what the agent
holds, when there is nothing to do. Imports the installed product."""

import json
import sys
import time

from pve_ospf import look, routers, sync
from pve_ospf.guestfiles import GuestFiles

memory = look.Memory(files=GuestFiles(follow=True), routers=routers.read())
found = []
for turn in range(int(sys.argv[1]) + 1):
    began = time.perf_counter()
    with sync.locked():
        picture = look.look(memory=memory)
        result = sync.settle(picture)
    if turn:  # the first has read every file
        found.append(time.perf_counter() - began)
    assert not result.plan.changes, result.plan.changes
    time.sleep(0.05)
print(json.dumps({"seconds": found, "announced": len(picture.desired.announcements)}))
