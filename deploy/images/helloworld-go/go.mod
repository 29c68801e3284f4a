module wangell/deploy/images/helloworld-go

go 1.26
