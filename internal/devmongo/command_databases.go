package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

func listDatabases(o *op) (bson.D, error) {
	filter, namesOnly := o.a.document("filter"), o.a.boolean("nameOnly")
	o.a.accept("authorizedDatabases")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	match, err := compileFilter(filter, o.s.variables())
	if err != nil {
		return nil, err
	}
	list, total := bson.A{}, int64(0)
	for _, name := range o.view.databases() {
		size := int64(0)
		for _, c := range o.view.of(name) {
			for _, d := range c.docs {
				size += int64(len(d.raw))
			}
		}
		entry := bson.D{{Key: "name", Value: name}, {Key: "sizeOnDisk", Value: size}, {Key: "empty", Value: false}}
		ok, err := match(entry)
		if err != nil {
			return nil, err
		}
		if ok && namesOnly {
			list = append(list, entry[:1])
		} else if ok {
			list, total = append(list, entry), total+size
		}
	}
	d := bson.D{{Key: "databases", Value: list}}
	if !namesOnly {
		d = append(d, bson.E{Key: "totalSize", Value: total}, bson.E{Key: "totalSizeMb", Value: total >> 20})
	}
	return append(d, bson.E{Key: "ok", Value: 1.0}), nil
}

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
