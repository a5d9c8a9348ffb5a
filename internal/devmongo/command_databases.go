package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

func dropDatabase(o *op) (bson.D, error) {
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if err := o.mayWrite(namespace{db: o.db}); err != nil {
		return nil, err
	}
	collections := o.s.applied.of(o.db)
	for _, c := range collections {
		o.s.dropCollection(c)
	}
	if len(collections) == 0 {
		return okReply(), nil
	}
	o.s.record(&logEntry{kind: kindDropDatabase, ns: namespace{db: o.db}})
	return bson.D{{Key: "dropped", Value: o.db}, {Key: "ok", Value: 1.0}}, nil
}
