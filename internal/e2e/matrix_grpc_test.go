//go:build linux

package e2e

import (
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// matrix_grpc_test.go is a gRPC server that sends back every message of a stream
// that has both directions, and a client of it.

// plain is a codec for messages that are bytes.
type plain struct{}

func (plain) Name() string { return "plain" }

func (plain) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (plain) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// serveGRPC serves until the listener is closed.
func serveGRPC(l net.Listener) {
	echo := func(_ any, stream grpc.ServerStream) error {
		for {
			var message []byte
			if err := stream.RecvMsg(&message); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}
	_ = grpc.NewServer(grpc.ForceServerCodecV2(plain{}), grpc.UnknownServiceHandler(echo)).Serve(l)
}

// grpcStream exchanges messages on a stream. gRPC's status, which comes last, is
// what says that all went well.
func (r *rig) grpcStream(o *operation) error {
	ctx, cancel := o.context()
	defer cancel()
	client, err := grpc.NewClient("passthrough:///"+local(r.port), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/echo/Echo", grpc.ForceCodecV2(plain{}))
	if err != nil {
		return err
	}
	messages := &messages{ClientStream: stream}
	if err := o.exchange(messages); err != nil {
		if messages.ended {
			return short("status OK before all had come back")
		}
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	var more []byte
	switch err := stream.RecvMsg(&more); err {
	case nil:
		return wrong("%d bytes after all", len(more))
	case io.EOF:
		return nil
	default:
		return err
	}
}

// messages is a stream as bytes: a message each Write, and each Read.
type messages struct {
	grpc.ClientStream
	got   []byte
	ended bool // with a status of OK
}

func (m *messages) Write(p []byte) (int, error) {
	if err := m.SendMsg(&p); err != nil && err != io.EOF { // RecvMsg says why it has ended
		return 0, err
	}
	return len(p), nil
}

func (m *messages) Read(p []byte) (int, error) {
	if len(m.got) == 0 {
		if err := m.RecvMsg(&m.got); err != nil {
			m.ended = err == io.EOF
			return 0, err
		}
	}
	n := copy(p, m.got)
	m.got = m.got[n:]
	return n, nil
}
