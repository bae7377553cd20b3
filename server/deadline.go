package server

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of a request. It ends with that of the connection, when the time of the request is over, and when
// the request is answered, as one of context.WithDeadline does; but the timer and what belongs to it are made when somebody
// waits for the end, and most requests are answered without. It holds the observation as its one value.
type requestContext struct {
	context.Context // of the connection
	observation     *observation
	end             time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
	over   bool // the request is answered
}

func (c *requestContext) begin(connection context.Context, o *observation, end time.Time) {
	c.Context, c.observation, c.end = connection, o, end
}

// finish ends the context: the request is answered.
func (c *requestContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Deadline implements [context.Context].
func (c *requestContext) Deadline() (time.Time, bool) {
	if earlier, ok := c.Context.Deadline(); ok && earlier.Before(c.end) {
		return earlier, true
	}
	return c.end, true
}

// Done implements [context.Context].
func (c *requestContext) Done() <-chan struct{} { return c.waited().Done() }

// waited returns the context that one can wait for.
func (c *requestContext) waited() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.timed != nil:
	case c.over: // which is why it has ended, even if its time is over too by now
		c.timed, c.cancel = context.WithCancel(c.Context)
		c.cancel()
	default:
		c.timed, c.cancel = context.WithDeadline(c.Context, c.end)
	}
	return c.timed
}

// Err implements [context.Context]. It is what many ask who do not wait.
func (c *requestContext) Err() error {
	c.mu.Lock()
	goes := c.timed == nil && !c.over
	c.mu.Unlock()
	if goes && c.Context.Err() == nil && time.Now().Before(c.end) {
		return nil
	}
	return c.waited().Err()
}

// Value implements [context.Context]. Once there is a timer, what package context looks for to end a child with its parent is
// to be found there.
func (c *requestContext) Value(key any) any {
	if key == (observationKey{}) {
		return c.observation
	}
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}
