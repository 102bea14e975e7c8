"""What `--help` shows of each command in use."""

from typing import Final

EXAMPLES: Final = {
    "init": "mir init\nmir init --store 's3://team/digits?endpoint_url=http://host:9000'",
    "import": "mir import street.zip --to street\n"
    "mir import --index-file index.tsv --gt-dir annotations --gen-dir ~/assets "
    "--dst-rev street@import",
    "merge": "mir merge 'tr:street@import' 'va:night@import' --to all -s host",
    "filter": "mir filter all@merged -p 'person;cat' --to cats",
    "sampling": "mir sampling all --rate 0.1 --seed 7 --to tenth",
    "fuse": "mir fuse --src-revs 'tr:street;va:night' -p person --rate 0.5 --dst-rev half@fused",
    "split": "mir split all --rates 'tr:0.8;va:0.1;te:0.1' --stratify class --to split",
    "dedup": "mir dedup street --to unique\nmir dedup all --leaks",
    "stats": "mir stats street\nmir stats street --pictures charts",
    "copy": "mir copy --src-root ../other street@import --to street",
    "publish": "mir publish street@checked digits",
    "sample-zip": "mir sample-zip sample.zip",
    "show": "mir show street@V2",
    "diff": "mir diff street@V1 street",
    "export": "mir export street --to out",
    "log": "mir log street -n 5",
    "branch": "mir branch\nmir branch night street@V2\nmir branch --restore night",
    "checkout": "mir checkout street\nmir checkout -b night street@V2",
    "co": "mir co street",
    "tag": "mir tag street@checked street@V2\nmir tag",
    "keywords": "mir keywords add rain night --to street\nmir keywords street",
    "search": "mir search 'rain night'\nmir search --tag street@checked",
    "update": "mir update feature --from master",
    "classes": "mir classes\nmir classes add tv,television cat\nmir classes rename tv screen",
    "classes list": "mir classes list street@V2",
    "classes add": "mir classes add tv,television cat",
    "classes rename": "mir classes rename tv screen",
    "classes record": "mir classes record --to street",
    "classes import": "mir classes import ../other/.mir/labels.yaml",
    "classes export": "mir classes export classes.csv",
    "completion": "mir completion bash > ~/.local/share/bash-completion/completions/mir",
    "store": "mir store fsck deep",
    "store doctor": "mir store doctor 's3://bucket/prefix?endpoint_url=http://host:9000'",
    "store fsck": "mir store fsck deep",
    "store gc": "mir store gc --dry-run",
    "store compact": "mir store compact street",
    "store resolve": "mir store resolve 0123456789abcdef",
    "store export-view": "mir store export-view street@V2 --for polars",
    "evaluate": "mir evaluate street@inferred\n"
    "mir evaluate street@inferred --by split --confidence 0.3 --to street-marks",
    "compare": "mir compare street@model1 street@model2\n"
    "mir compare both both --layer 12ab --layer-b 34cd --metric map50_95",
    "train": "mir train --src-revs both@merged --dst-rev training-0@trained --executor detector "
    "--task-config-file training.yaml --model-location ~/models",
    "mining": "mir mining --src-revs pool --dst-rev mining-0@mined --topk 200 "
    "--model-hash 4fd01be3@best --executor detector --add-prediction\n"
    "mir mining explain mining-0@mined --pictures picks.html",
    "mining explain": "mir mining explain mining-0@mined --pictures picks.html",
    "simulate": "mir simulate street --strategies random,hybrid --rounds 4 --budget 200 "
    "--executor detector",
    "infer": "mir infer --src-revs pool --dst-rev pool@predicted --model-hash production "
    "--executor detector",
    "models": "mir models list\nmir models import ~/ymir-models/4fd01be3\n"
    "mir models promote 4fd01be3@best\nmir models verify production street.jpg --executor detector",
    "models list": "mir models list",
    "models show": "mir models show 4fd01be3",
    "models import": "mir models import ~/ymir-models/4fd01be3",
    "models export": "mir models export 4fd01be3 --to ~/models/",
    "models promote": "mir models promote 4fd01be3@best --name production",
    "models verify": "mir models verify production street.jpg --executor detector --to seen.png",
    "executor list": "mir executor list",
    "executor add": "mir executor add mine:1 --name mine",
    "executor templates": "mir executor templates mine --type training --output training.yaml",
    "executor check": "mir executor check ./mine\nmir executor check mine:1",
    "executor new": "mir executor new mine",
    "executor": "mir executor templates detector --type training --output training.yaml\n"
    "mir executor new mine\nmir executor check ./mine",
    "doctor": "mir doctor",
    "project apply": "mir project apply -f projects/digits.yaml",
    "project create": "mir project create digits --classes zero,one --training train.zip "
    "--validation val.zip --pool pool.zip",
    "project list": "mir project list",
    "project show": "mir project show digits",
    "round list": "mir round list",
    "round show": "mir round show 2 --project digits",
    "round fail": "mir round fail 2 --reason 'the labels are wrong'",
    "round start": "mir round start digits --url http://127.0.0.1:8080",
    "round worth": "mir round worth digits --seeds 0,1,2,3,4",
    "project": "mir project apply -f projects/digits.yaml",
    "round": "mir round start digits --url http://127.0.0.1:8080",
    "view": "mir view street",
}
