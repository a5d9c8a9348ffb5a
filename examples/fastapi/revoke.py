"""Revokes a key like another program: with one update. Prints the time of the
majority acknowledgement, in seconds since 1970.

    python revoke.py MONGODB_URI DATABASE KEY_ID
"""

import sys
import time

from pymongo import MongoClient, WriteConcern

uri, database, key_id = sys.argv[1:]
with MongoClient(uri) as client:
    keys = client[database].get_collection("api_keys", write_concern=WriteConcern("majority"))
    result = keys.update_one({"_id": key_id}, {"$set": {"is_active": False}})
    acknowledged = time.time()
if result.matched_count != 1:
    sys.exit("no key has this id")
print(acknowledged)
