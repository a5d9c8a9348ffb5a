package devmongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
)

// DeleteExpired deletes the documents that have expired by a TTL index, as MongoDB does
// once a minute, and returns their number.
func (s *Server) DeleteExpired() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steppedDown != nil {
		return 0
	}
	o, n := &op{s: s, view: s.applied}, 0
	for _, c := range s.applied.collections {
		for _, x := range c.indexes {
			if x.expireAfter < 0 {
				continue
			}
			before := bson.NewDateTimeFromTime(s.wallNow().Add(-time.Duration(x.expireAfter) * time.Second))
			q := query{filter: bson.D{{Key: x.key[0].Key, Value: bson.D{{Key: "$lte", Value: before}}}}}
			rows, err := o.delete(c.ns, q)
			if n += len(rows); err != nil {
				s.log.Error("cannot delete expired documents", zap.Stringer("namespace", c.ns), zap.Error(err))
			}
		}
	}
	return n
}
