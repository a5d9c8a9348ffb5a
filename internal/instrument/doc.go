// Package instrument has what the metrics of several packages share: the form of a
// histogram, the measurement of requests, limits with their use, and registration.
//
// Every series that can exist is made by a constructor, with the value 0: an alert
// on a rise does not see the first count of a series that begins at 1. So the
// values of each label are a list in the code and never part of a request.
package instrument
