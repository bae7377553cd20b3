package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// pipe is a listener in memory.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Accept implements [net.Listener].
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "memory" }
func (pipeAddr) String() string  { return "memory" }

func (p *pipe) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Local returns a client of a Backend in this process, through the same handler as that of a running server. Close ends it and
// leaves the Backend as it is.
func Local(b *Backend) *Client {
	p := newPipe()
	s := NewServer(b)
	done := make(chan error, 1)
	go func() { done <- s.Serve(p) }()
	c := newClient(p.dial, b.Version)
	c.close = func() error {
		err := s.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
	return c
}

// NewServer returns the HTTP server of the control API, ready to serve on a listener from Listen.
func NewServer(b *Backend) *http.Server {
	stopping, stop := context.WithCancel(context.Background())
	s := &http.Server{Handler: newHandler(stopping, b), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: b.errorLog()}
	s.RegisterOnShutdown(stop)
	return s
}
