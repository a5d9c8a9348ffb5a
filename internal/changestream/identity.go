package changestream

import "go.mongodb.org/mongo-driver/v2/mongo"

// ID is the _id of this instance's heartbeats: <name>/<boot id>.
func (h *Heart) ID() string { return h.id }

// Heartbeats is the collection that they are written to, with those of the other
// instances.
func (h *Heart) Heartbeats() *mongo.Collection { return h.beats }
