module github.com/kafka-guarded/kafka-guarded/tools/licenses

go 1.26.6

require (
	github.com/google/licensecheck v0.3.1
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
