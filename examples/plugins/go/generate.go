// Package plugins holds example plugins. The generated code comes from the product's proto folder.
package plugins

//go:generate protoc -I ../../../proto --go_out=. --go_opt=module=injector.example/plugins --go_opt=Mtokenstore/v1/token_store.proto=injector.example/plugins/tokenstore/proto --go-grpc_out=. --go-grpc_opt=module=injector.example/plugins --go-grpc_opt=Mtokenstore/v1/token_store.proto=injector.example/plugins/tokenstore/proto tokenstore/v1/token_store.proto
//go:generate protoc -I ../../../proto --go_out=. --go_opt=module=injector.example/plugins --go_opt=Minjector/plugin/v2/plugin.proto=injector.example/plugins/protocol2/pluginv2 --go-grpc_out=. --go-grpc_opt=module=injector.example/plugins --go-grpc_opt=Minjector/plugin/v2/plugin.proto=injector.example/plugins/protocol2/pluginv2 injector/plugin/v2/plugin.proto
