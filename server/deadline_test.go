package server

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The context of a request does what one of context.WithDeadline does, whether or not somebody has waited before.
func TestRequestContext(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	for name, end := range map[string]struct {
		how  func(cancel, finish func())
		want error
	}{
		"time is over":        {func(_, _ func()) { time.Sleep(limit) }, context.DeadlineExceeded},
		"the client has gone": {func(cancel, _ func()) { cancel() }, context.Canceled},
		"answered":            {func(_, finish func()) { finish() }, context.Canceled},
		"answered, and later": {func(_, finish func()) { finish(); time.Sleep(2 * limit) }, context.Canceled},
	} {
		for waiter, wait := range map[string]func(t *testing.T, ctx context.Context) (err func() error){
			"nobody waits": func(_ *testing.T, ctx context.Context) func() error { return ctx.Err },
			"one waits":    func(_ *testing.T, ctx context.Context) func() error { ctx.Done(); return ctx.Err },
			"a child waits": func(t *testing.T, ctx context.Context) func() error {
				child, stop := context.WithCancel(ctx)
				t.Cleanup(stop)
				return child.Err
			},
			"a function waits": func(_ *testing.T, ctx context.Context) func() error {
				var ended atomic.Pointer[error]
				context.AfterFunc(ctx, func() { err := ctx.Err(); ended.Store(&err) })
				return func() error {
					synctest.Wait()
					if err := ended.Load(); err != nil {
						return *err
					}
					return nil
				}
			},
		} {
			t.Run(name+", "+waiter, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					connection, cancel := context.WithCancel(context.WithValue(t.Context(), t, "value"))
					defer cancel()
					o := new(observation)
					o.ctx.begin(connection, o, time.Now().Add(limit))
					ctx := context.Context(&o.ctx)
					defer o.ctx.finish()
					err := wait(t, ctx)
					for range 2 {
						if d, ok := ctx.Deadline(); !ok || time.Until(d) != limit {
							t.Errorf("ends at %s (%v)", d, ok)
						}
						if ctx.Value(observationKey{}) != o || ctx.Value(t) != "value" || ctx.Value("x") != nil {
							t.Error("values are lost")
						}
						if err() != nil {
							t.Errorf("has ended: %v", err())
						}
					}
					end.how(cancel, o.ctx.finish)
					synctest.Wait()
					if !errors.Is(err(), end.want) || !errors.Is(ctx.Err(), end.want) {
						t.Errorf("%v, %v; want %v", err(), ctx.Err(), end.want)
					}
					select {
					case <-ctx.Done():
					default:
						t.Error("who waits now does not learn that it has ended")
					}
					if late, stop := context.WithCancel(ctx); late.Err() == nil {
						t.Error("a child of an ended one goes on")
						stop()
					} else {
						stop()
					}
				})
			})
		}
	}
}
