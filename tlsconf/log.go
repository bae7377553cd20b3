package tlsconf

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge makes a logger for certmagic, which logs by zap, of ours. What certmagic tells at level info is for those who look
// for a fault in it, and becomes debug; its warnings and errors stay what they are.
func bridge(to *slog.Logger) *zap.Logger { return zap.New(&core{to.Handler()}) }

// core is a zapcore.Core in front of a slog.Handler.
type core struct{ slog.Handler }

var _ zapcore.Core = (*core)(nil)

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (c *core) Enabled(l zapcore.Level) bool {
	return c.Handler.Enabled(context.Background(), level(l))
}

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.WithAttrs(attributes(fields))}
}

func (c *core) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, level(e.Level), e.Message, 0)
	if e.LoggerName != "" {
		r.AddAttrs(slog.String("logger", "certmagic."+e.LoggerName))
	} else {
		r.AddAttrs(slog.String("logger", "certmagic"))
	}
	r.AddAttrs(attributes(fields)...)
	return c.Handle(context.Background(), r)
}

func (c *core) Sync() error { return nil }

// attributes turns zap's fields into slog's, by way of the plain values that zap's own encoder makes of them.
func attributes(fields []zapcore.Field) []slog.Attr {
	var l []slog.Attr
	for _, f := range fields {
		plain := zapcore.NewMapObjectEncoder()
		f.AddTo(plain)
		if v, ok := plain.Fields[f.Key]; ok {
			l = append(l, slog.Any(f.Key, v))
		}
	}
	return l
}
