package changestream

import "github.com/keytail/keytail/internal/guard"

// isHiddenFromCache reports whether a loss is not reported to the cache, as in
// a consumer that simply opens a new stream. It is the constant false, except
// in tests that show the resulting anomalies (internal/guard).
func isHiddenFromCache(r Reason) bool {
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
