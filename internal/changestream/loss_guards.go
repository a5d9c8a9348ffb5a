package changestream

import "github.com/keytail/keytail/internal/guard"

// concealed reports whether a loss is to be kept from the cache, as by a consumer
// that simply opens a new stream. It is the constant false, but in tests of what
// the anomalies would be (internal/guard).
func hiddenFromCache(r Reason) bool {
	return !guard.LossNoToken && r == reasonNoToken ||
		!guard.LossHistory && r == reasonHistoryLost ||
		!guard.LossPosition && r == reasonPositionLost ||
		!guard.LossTokenRefused && r == reasonTokenRefused ||
		!guard.LossTokenRemoved && r == reasonTokenRemoved ||
		!guard.LossEventTooLarge && r == reasonEventTooLarge ||
		!guard.LossUnknownCode && r == reasonResumeRefused ||
		!guard.LossCursorEnded && r == reasonCursorEnded ||
		!guard.LossDrop && r == reasonDrop ||
		!guard.LossRename && r == reasonRename ||
		!guard.LossDropDatabase && r == reasonDropDatabase ||
		!guard.LossInvalidate && r == reasonInvalidate ||
		!guard.LossUndecodable && r == reasonUndecodable ||
		!guard.LossUnknownType && r == reasonUnknownType
}
