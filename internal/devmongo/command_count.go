package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// count returns the number of documents of a collection, as EstimatedDocumentCount
// of the drivers requests it.
func count(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	rows, err := query{}.run(o.lookup(ns))
	return bson.D{{Key: "n", Value: int32(len(rows))}, {Key: "ok", Value: 1.0}}, err
}
