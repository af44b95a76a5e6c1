"""Deployment without a build: `make package` with a release's zip files, uploaded by the real `sam package` to the emulator's S3."""

import base64
import hashlib
import json
import os
import re
import shutil
import zipfile

import pytest
from samtranslator.yaml_helper import yaml_parse

import deployment

FUNCTIONS = {"TokenFunction": "token", "RotateFunction": "rotate", "ProbeFunction": "probe"}
OTHER = {"x86_64": "arm64", "arm64": "x86_64"}[deployment.ARCHITECTURE]
VERSION = "1.2.3-rc.1"


def zip_name(function, architecture=deployment.ARCHITECTURE):
    return f"sftoken_{FUNCTIONS[function]}_{architecture}.zip"


@pytest.fixture(scope="session")
def built(template, directory):
    """A release's files: zip files of one file each, their checksums and the names of the archives."""
    release = directory / "release"
    release.mkdir()
    lines = [f"{'0' * 64}  sftoken_{VERSION}_{name}" for name in ("darwin_arm64.tar.gz", "linux_amd64.tar.gz", "linux_amd64.tar.gz.sbom.json")]
    for function in FUNCTIONS:
        with zipfile.ZipFile(release / zip_name(function), "w", zipfile.ZIP_DEFLATED) as file:
            file.write(template.parent / function / "bootstrap", "bootstrap")
        lines.append(f"{hashlib.sha256((release / zip_name(function)).read_bytes()).hexdigest()}  {zip_name(function)}")
    (release / "checksums.txt").write_text("".join(line + "\n" for line in lines))
    return release


@pytest.fixture
def release(built, tmp_path):
    """A copy of the release that a test may spoil."""
    return shutil.copytree(built, tmp_path / "downloaded files")


@pytest.fixture(scope="session")
def source(directory):
    return deployment.clone(directory / "packaged-clone")


@pytest.fixture
def bucket(emulator, request):
    name = "code-" + re.sub("[^a-z0-9]", "-", request.node.name)[:50].strip("-")
    emulator.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def package(environment, source):
    """package(NAME=value, …) runs `make package` and returns what came of it and the template's path."""
    def run(**variables):
        given = {"ARCH": deployment.ARCHITECTURE} | variables
        done = deployment.shell("make package " + " ".join(f"{k}='{v}'" for k, v in given.items()), environment(), source)
        return done, source / "dist" / "packaged.yaml"

    return run


def objects(emulator, bucket):
    return {o["Key"]: emulator.client("s3").get_object(Bucket=bucket, Key=o["Key"])["Body"].read()
            for o in emulator.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def code(path):
    """Where the template has each function's code."""
    resources = yaml_parse(path.read_text())["Resources"]
    return {name: resources[name]["Properties"]["CodeUri"] for name in FUNCTIONS}


@pytest.fixture
def packaged(package, release, bucket):
    done, path = package(BUCKET=bucket, RELEASE=release, PREFIX="sftoken/" + VERSION)
    assert done.returncode == 0, done.stderr
    return path


def test_a_release_is_deployed_and_vends(packaged, built, bucket, emulator, environment, sam, org, put_secret, admin):
    """With the AWS CLI, as of CloudFormation's users; the SAM CLI finds nothing to change."""
    deployed = deployment.shell(
        f"""aws cloudformation deploy --template-file {packaged} --s3-bucket {bucket} --stack-name packaged --capabilities CAPABILITY_IAM \\
            --parameter-overrides RotationSchedule=off SecretPrefix=packaged/ SalesforceHosts={org.host} 'ProbeSchedule=rate(1 day)'""", environment())
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    stack = sam.stack("packaged")
    for function in FUNCTIONS:
        configuration = emulator.client("lambda").get_function_configuration(FunctionName=stack.resources[function])
        assert configuration["Architectures"] == [deployment.ARCHITECTURE]
        released = hashlib.sha256((built / zip_name(function)).read_bytes()).digest()
        assert configuration["CodeSha256"] == base64.b64encode(released).decode(), "docs/how-to/controls.md compares the two"
    app = org.add_app("packaged-crm")
    put_secret("crm", app.value(org.url), prefix="packaged/")
    response = stack.call(admin, "crm")
    assert response.status == 200 and org.accepts(response.json()["access_token"])
    with pytest.raises(AssertionError, match="Architecture"):
        sam.deploy(packaged, "packaged", Architecture=OTHER)


def test_only_these_parts_of_the_template_change(packaged, bucket):
    """What is uploaded is named after its bytes."""
    before, after = yaml_parse(deployment.TEMPLATE.read_text()), yaml_parse(packaged.read_text())
    for name, resource in after["Resources"].items():
        assert resource["Metadata"].pop("SamResourceId") == name  # the SAM CLI's own
        before["Resources"][name].setdefault("Metadata", {})
    for function in FUNCTIONS:
        assert re.fullmatch(rf"s3://{bucket}/sftoken/{re.escape(VERSION)}/[0-9a-f]{{32}}", after["Resources"][function]["Properties"].pop("CodeUri"))
    metadata = after["Metadata"]["AWS::ServerlessRepo::Application"]
    assert metadata.pop("SemanticVersion") == VERSION
    for field, file in {"LicenseUrl": "LICENSE", "ReadmeUrl": "README.md"}.items():
        assert (field in metadata) == (deployment.ROOT / file).exists()
        assert metadata.pop(field, "s3://").startswith("s3://")
    del before["Globals"]["Function"]["CodeUri"]
    before["Parameters"]["Architecture"] |= {"Default": deployment.ARCHITECTURE, "AllowedValues": [deployment.ARCHITECTURE]}
    assert after == before
    deployment.cfn_lint(packaged, regions=deployment.PARTITIONS)


def test_what_lies_in_the_bucket_already_is_replaced(package, release, bucket, emulator):
    """The object's key can be computed from the released file, so that it could be there before."""
    s3, file = emulator.client("s3"), (release / zip_name("TokenFunction")).read_bytes()
    key = hashlib.md5(file).hexdigest()
    s3.put_object(Bucket=bucket, Key=key, Body=b"another function")
    done, path = package(BUCKET=bucket, RELEASE=release)
    assert done.returncode == 0, done.stderr
    assert code(path)["TokenFunction"] == f"s3://{bucket}/{key}" and objects(emulator, bucket)[key] == file


def spoil(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("what, error", [
    (lambda release: spoil(release / zip_name("RotateFunction")), f"{zip_name('RotateFunction')} does not match checksums.txt"),
    (lambda release: edit(release / "checksums.txt", zip_name("ProbeFunction"), "x.zip"), f"has no checksum of {zip_name('ProbeFunction')}"),
    (lambda release: (release / "checksums.txt").unlink(), "no checksums.txt in "),
    (lambda release: (release / "checksums.txt").write_text(""), f"has no checksum of {zip_name('TokenFunction')}"),
    (lambda release: (release / zip_name("ProbeFunction")).unlink(), f"no {zip_name('ProbeFunction')} in "),
])
def test_a_release_that_is_refused(package, release, bucket, emulator, source, what, error):
    """Nothing is uploaded, and no template of an earlier run stays."""
    (source / "dist").mkdir(exist_ok=True)
    (source / "dist" / "packaged.yaml").write_text("earlier")
    what(release)
    done, path = package(BUCKET=bucket, RELEASE=release)
    assert done.returncode != 0 and "error: " in done.stderr and error in done.stderr and "hint: " in done.stderr
    assert not path.exists() and not objects(emulator, bucket)


@pytest.mark.parametrize("architecture, error", [("mips", "ARCH=mips is no architecture"), (OTHER, f"no {zip_name('TokenFunction', OTHER)} in ")])
def test_an_architecture_that_is_refused(package, release, bucket, emulator, architecture, error):
    done, _ = package(BUCKET=bucket, RELEASE=release, ARCH=architecture)
    assert done.returncode != 0 and error in done.stderr and not objects(emulator, bucket)


def test_a_template_that_the_script_does_not_know(package, release, bucket, emulator, source):
    template = source / "template.yaml"
    kept = template.read_text()
    try:
        edit(template, "    CodeUri: .\n", "")
        done, path = package(BUCKET=bucket, RELEASE=release)
    finally:
        template.write_text(kept)
    assert done.returncode != 0 and "is not the template that this script changes" in done.stderr
    assert not path.exists() and not objects(emulator, bucket)


def test_signed_code(package, release, bucket, emulator):
    """AWS Signer signs each zip file, and the template has the signed ones. The emulator's signatures are none, so it is not deployed."""
    emulator.client("signer").put_signing_profile(profileName="sftoken", platformId="AWSLambda-SHA384-ECDSA")
    emulator.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    done, path = package(BUCKET=bucket, RELEASE=release, PREFIX="sftoken", SIGNING_PROFILE="sftoken")
    assert done.returncode == 0, done.stderr
    jobs = {job["signedObject"]["s3"]["key"]: job["source"]["s3"] for job in emulator.client("signer").list_signing_jobs()["jobs"]}
    for url in code(path).values():
        assert re.fullmatch(rf"s3://{bucket}/sftoken/signed_[0-9a-f-]+\.zip", url)
        assert jobs[url.removeprefix(f"s3://{bucket}/")]["key"].endswith(".zip")
    assert len(set(code(path).values())) == len(jobs) == len(FUNCTIONS)


def test_without_a_clone(package, release, built, bucket, environment, emulator, sam, org):
    """As docs/how-to/deploy-release.md has it: the files of the release in one folder, where `sam deploy` takes what was packaged."""
    for file in "template.yaml", "package.sh":
        shutil.copy(deployment.ROOT / file, release)
    done = deployment.shell(f"BUCKET={bucket} ARCH={deployment.ARCHITECTURE} bash package.sh", environment(), release)
    assert done.returncode == 0, done.stderr
    assert set(objects(emulator, bucket)) == {url.rpartition("/")[2] for url in code(release / "packaged.yaml").values()}
    done = deployment.shell("sam deploy --no-confirm-changeset --stack-name unpacked --parameter-overrides RotationSchedule=off "
                            f"SecretPrefix=unpacked/ SalesforceHosts={org.host}", environment(), release)
    assert done.returncode == 0, done.stdout + done.stderr
    token = sam.stack("unpacked").resources["TokenFunction"]
    released = hashlib.sha256((built / zip_name("TokenFunction")).read_bytes()).digest()
    assert emulator.client("lambda").get_function_configuration(FunctionName=token)["CodeSha256"] == base64.b64encode(released).decode()
    kept = (release / "samconfig.toml").read_text()
    (release / "samconfig.toml").write_text("# mine\n" + kept)
    done = deployment.shell(f"BUCKET={bucket} ARCH={deployment.ARCHITECTURE} bash package.sh", environment(), release)
    assert done.returncode == 0 and (release / "samconfig.toml").read_text() == "# mine\n" + kept


def test_the_default_bucket(package, release):
    done, path = package(RELEASE=release)
    assert done.returncode == 0, done.stderr
    assert all(url.startswith("s3://aws-sam-cli-managed-default") for url in code(path).values())


@pytest.mark.skipif("SFTOKEN_CDK" not in os.environ, reason="no CDK: make cdk installs it and runs this")
def test_cdk(packaged, environment, tmp_path):
    """examples/cdk, with the modules that test/cdk has installed."""
    app = shutil.copytree(deployment.ROOT / "examples" / "cdk", tmp_path / "cdk", ignore=shutil.ignore_patterns("node_modules", "cdk.out"))
    (app / "node_modules").symlink_to(os.path.join(os.environ["SFTOKEN_CDK"], "node_modules"))
    done = deployment.shell(f"npx --no-install cdk synth --quiet --no-notices -c template={packaged}",
                            environment(CDK_DISABLE_CLI_TELEMETRY="true"), app)
    assert done.returncode == 0, done.stdout + done.stderr
    synthesized = app / "cdk.out" / "sftoken.template.json"
    deployment.cfn_lint(synthesized)
    template = json.loads(synthesized.read_text())
    (stack,) = (r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::CloudFormation::Stack")
    # The nested template is the packaged one, which test_only_these_parts_of_the_template_change checks; it knows these parameters.
    (asset,) = (app / "cdk.out").glob("asset.*")
    assert asset.read_bytes() == packaged.read_bytes() and asset.name.removeprefix("asset.") in json.dumps(stack["TemplateURL"])
    nested = yaml_parse(packaged.read_text())
    assert set(FUNCTIONS) <= set(nested["Resources"]) and stack["Parameters"] and set(stack["Parameters"]) <= set(nested["Parameters"])
    outputs = set(re.findall(r"Outputs\.(\w+)", json.dumps(template["Outputs"])))
    assert outputs and outputs <= set(nested["Outputs"])
